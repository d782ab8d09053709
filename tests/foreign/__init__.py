"""Verifiers nobody here wrote check a log that Grace made: Go's x/mod/sumdb and sigstore."""
