"""Can this machine reach the database? Run it where the application runs.

python reach.py "$DATABASE_URL"
"""

import socket
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
host, port = url.hostname, url.port or 5432
if not host:
    sys.exit("this URL has no host: use postgresql://user@host:port/database")
print(f"{host}, port {port}:")
try:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
except socket.gaierror as error:
    sys.exit(f"  no address: {error.strerror}")
for family, kind, _, _, address in found:
    try:
        with socket.socket(family, kind) as tried:
            tried.settimeout(3)
            tried.connect(address)
        print(f"  {address[0]}: answers")
    except OSError as error:
        print(f"  {address[0]}: {error.strerror or error}")
