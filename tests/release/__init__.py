"""What a release needs: the long description on PyPI, and distributions that pass their own tests."""
