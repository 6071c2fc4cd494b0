"""What audits, a shadow and a looked-at page cost the requests that need none of them."""
