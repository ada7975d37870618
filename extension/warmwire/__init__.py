"""Warmwire: MySQL connections that stay warm inside a Lambda execution environment."""

__version__ = "0.1.0"
