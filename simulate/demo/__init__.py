"""`simulate demo`: a small country living through a link cut, with real processes and sockets. Floor: simulate.

`director` runs it, `story` is the table it follows, `judge` and `report` say what came of it.
"""
