"""HDLC for DLMS (IEC 62056-46): frames, parameters, and the link of either side."""
