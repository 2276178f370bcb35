"""DLMS/COSEM (IEC 62056): both sides of the codec without any I/O, and the typed views over it.

From the wire up: `hdlc` or `wrapper` carry APDUs, `apdu` and `axdr` spell them, `security` seals them, `association`
keeps the order of things for the client, `meter_side` for the meter, `client` joins association and carrier.
"""
