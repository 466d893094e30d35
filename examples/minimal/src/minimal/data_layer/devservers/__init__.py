"""Throwaway servers for the demo and the tests: no production code imports them."""
