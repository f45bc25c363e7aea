"""Logs. Floor 1; imports only the standard library."""
