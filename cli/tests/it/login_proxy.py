"""A proxy that logs clients in by itself, and passes them on to a pooler: the shape of Neon's.

It takes TLS alone, and of SCRAM only the kind that is bound to its certificate, which PgBouncer does not speak.

Arguments: its port, the pooler's port, its certificate, its key, the password.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import struct
import sys

PORT, POOLER, CERTIFICATE, KEY, PASSWORD = sys.argv[1:]
CONTEXT = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
CONTEXT.load_cert_chain(CERTIFICATE, KEY)
with open(CERTIFICATE) as file:
    BINDING = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).digest()
START_TLS = 80877103


def digest(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def authentication(kind, data):
    return b"R" + struct.pack("!ii", 8 + len(data), kind) + data


async def startup_packet(reader):
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!i", length)[0] - 4)


async def answer(reader):
    if await reader.readexactly(1) != b"p":
        raise ConnectionError("no answer to the authentication")
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    return await reader.readexactly(length - 4)


async def log_in(reader, writer):
    writer.write(authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))
    mechanism, rest = (await answer(reader)).split(b"\0", 1)
    header = b"p=tls-server-end-point,,"
    if mechanism != b"SCRAM-SHA-256-PLUS" or not rest[4:].startswith(header):
        raise ConnectionError("the login is not bound to the certificate")
    first = rest[4 + len(header) :]
    nonce = first.split(b"r=", 1)[1] + base64.b64encode(os.urandom(18))
    salt = os.urandom(16)
    challenge = b"r=" + nonce + b",s=" + base64.b64encode(salt) + b",i=4096"
    writer.write(authentication(11, challenge))
    final = await answer(reader)
    unproven, proof = final.rsplit(b",p=", 1)
    if unproven != b"c=" + base64.b64encode(header + BINDING) + b",r=" + nonce:
        raise ConnectionError("the login is bound to another certificate")
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, 4096)
    message = b",".join([first, challenge, unproven])
    key = digest(salted, b"Client Key")
    signature = digest(hashlib.sha256(key).digest(), message)
    if base64.b64decode(proof) != bytes(a ^ b for a, b in zip(key, signature)):
        raise ConnectionError("another password")
    verifier = digest(digest(salted, b"Server Key"), message)
    writer.write(authentication(12, b"v=" + base64.b64encode(verifier)))


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def serve(reader, writer):
    try:
        if struct.unpack("!i", (await startup_packet(reader))[4:8])[0] != START_TLS:
            raise ConnectionError("not encrypted")
        writer.write(b"S")
        await writer.start_tls(CONTEXT)
        startup = await startup_packet(reader)
        await log_in(reader, writer)
        from_pooler, to_pooler = await asyncio.open_connection("127.0.0.1", int(POOLER))
        # The pooler trusts the proxy. Its first answer completes the login.
        to_pooler.write(startup)
        await asyncio.gather(copy(reader, to_pooler), copy(from_pooler, writer))
    except (OSError, asyncio.IncompleteReadError) as error:
        print(error, file=sys.stderr, flush=True)
        writer.close()


async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(PORT)) as server:
        await server.serve_forever()


asyncio.run(main())
