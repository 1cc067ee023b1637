"""Verifies certificates with pyca/cryptography, which is strict about what RFC 5280 and the CA/Browser Forum ask of clients.

usage: verify_with_cryptography.py ROOT ISSUING LEAF...  (PEM files); says for each leaf its names, or why not.
"""
import sys
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

read = lambda path: x509.load_pem_x509_certificates(open(path, "rb").read())
root, issuing, *leaves = sys.argv[1:]
verifier = PolicyBuilder().store(Store(read(root))).build_client_verifier()
for leaf in leaves:
    try:
        verified = verifier.verify(read(leaf)[0], read(issuing))
        print("OK", *(name.value for name in verified.subjects))
    except VerificationError as error:
        print("refused:", error)
