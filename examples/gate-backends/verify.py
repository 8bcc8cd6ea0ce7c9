import jwt  # pip install 'pyjwt[crypto]'

keys = jwt.PyJWKClient("http://127.0.0.1:9180/.well-known/jwks.json")


def verify(assertion):
    """Returns what the gate says about the user. Raises jwt.PyJWTError if the assertion is not valid here."""
    key = keys.get_signing_key_from_jwt(assertion)
    return jwt.decode(
        assertion,
        key,
        algorithms=["ES256"],
        issuer="cloakroom",
        audience="wiki.example.com",
        options={"require": ["exp", "iss", "aud", "sub"]},
    )
