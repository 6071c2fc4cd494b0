"""How close is the student, and which threshold is proved: exact tests on unseen rows."""
