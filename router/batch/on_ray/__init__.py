"""The student's part on a Ray cluster; who is asked, what is written and booked stays here."""
