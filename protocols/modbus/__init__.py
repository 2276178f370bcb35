"""Modbus over TCP and RTU-over-TCP: frames, the bus, the register map of a profile, and the driver over them."""
