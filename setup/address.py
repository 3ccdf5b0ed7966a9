"""Where `make serve` shows the site: `python3 -m setup.address 127.0.0.1:8000` says in one line why it cannot."""

import ipaddress
import re
import socket
import sys

ANOTHER = "make serve ADDRESS=127.0.0.1:8001"


def check(address: str) -> None:
    """See whether a server can listen there. Raises RuntimeError with what to do where none can."""
    found = re.fullmatch(r"(localhost|[\d.]+|\[[\da-fA-F:.]+\]):(\d{1,5})", address)
    if not found or not 0 < int(found[2]) < 65536:
        raise RuntimeError(f"{address!r} is not an address and port: write them as in {ANOTHER}")
    host, port = found[1].strip("[]"), int(found[2])
    try:
        if host != "localhost":
            ipaddress.ip_address(host)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            tried.bind((host, port))
    except ValueError:
        raise RuntimeError(f"{host} is not an address: write one as in {ANOTHER}") from None
    except OSError as error:
        raise RuntimeError(f"{address}: {error.strerror}: use another address, as in {ANOTHER}") from error


if __name__ == "__main__":
    try:
        check(*sys.argv[1:])
    except RuntimeError as problem:
        sys.exit(f"serve: {problem}")
