"""What a load test found: counts and latencies as figures, judged by rule and by limit."""
