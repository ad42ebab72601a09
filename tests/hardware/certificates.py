"""Certificates of a test run: a CA, that of the box, and those of chargepoints."""

import trustme


class Certificates:
    """Files in a folder, made anew each time."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.root = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(str(self.root))
        self.server("127.0.0.1")

    def server(self, *names, **terms):
        """`server.pem` and `server.key`."""
        self._write(self.ca.issue_cert(*names, **terms), "server")

    def client(self, identity, **terms):
        """`IDENTITY.pem` and `IDENTITY.key`; returns their paths."""
        made = self.ca.issue_cert(f"{identity.lower()}.invalid", common_name=identity, **terms)
        return self._write(made, identity)

    def _write(self, made, name):
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        key.chmod(0o600)
        return str(certificate), str(key)
