"""Fork while a connection is open, without TLS.

The child asks for a row, and reads the one that its parent asked for.
"""

import os

import psycopg

connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
sent, send = os.pipe()
told, tell = os.pipe()

if os.fork() == 0:
    try:
        os.read(sent, 1)  # the parent has asked, and not read its answer
        row = connection.execute("select 'for the child'").fetchone()
        os.write(tell, row[0].encode())
    finally:
        os._exit(0)

connection.pgconn.send_query(b"select 'for the parent'")
os.write(send, b".")
os.close(tell)
print("the child got the row", os.read(told, 100).decode())
os.wait()
connection.close()
