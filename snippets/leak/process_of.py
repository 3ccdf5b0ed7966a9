"""Name the process at the other end of a connection: process_of.py PORT.

Run it where the application runs, with PostgreSQL's client_port. It takes
psutil, and root to see processes of other users.
"""

import sys

import psutil

port = int(sys.argv[1])
for connection in psutil.net_connections("tcp"):
    if port in connection.laddr and connection.raddr and connection.pid:
        process = psutil.Process(connection.pid)
        print(f"{process.pid}: {' '.join(process.cmdline())[:60]}")
