"""A meter's side of DLMS/COSEM from the same codec: what the simulator serves, and what tests hold the client to."""
