"""Reports: one self-contained HTML page, and the figures that go on it."""
