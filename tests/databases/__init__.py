"""Servers of databases that tests start, in temporary directories and on ports of their own."""
