"""Scenarios that come with raisehand, as YAML."""
