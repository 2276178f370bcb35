"""What any process of ours needs: clocks, database, supervision, configuration, keys, doors. Knows no electricity.

Floor: beside `protocols`, above `gridmodel`. A module enters only if two other floors use it.
"""
