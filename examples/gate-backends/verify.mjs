import { createRemoteJWKSet, jwtVerify } from "jose"; // npm install jose

const keys = createRemoteJWKSet(new URL("http://127.0.0.1:9180/.well-known/jwks.json"));

/** Returns what the gate says about the user. Throws if the assertion is not valid here. */
export async function verify(assertion) {
  const { payload } = await jwtVerify(assertion, keys, {
    algorithms: ["ES256"],
    issuer: "cloakroom",
    audience: "wiki.example.com",
    requiredClaims: ["exp", "iss", "aud", "sub"],
  });
  return payload;
}
