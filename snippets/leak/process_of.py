"""Name the processes that have a connection: process_of.py PORT.

Run it where the application runs, with PostgreSQL's client_port. It needs
psutil, and root to see other users' processes.
"""

import sys

import psutil

port = int(sys.argv[1])
for process in psutil.process_iter():
    try:
        connections = process.net_connections("tcp")
        command = " ".join(process.cmdline())
    except psutil.Error:
        continue  # it has just ended, or is another user's
    for connection in connections:
        if port in connection.laddr and connection.raddr:
            print(f"{process.pid}: {command[:60]}")
