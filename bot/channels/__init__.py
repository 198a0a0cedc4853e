"""The channels, one package per kind. The contract and the registry stand in `base.py`."""
