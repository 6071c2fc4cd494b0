"""Is the certificate still kept: audits of kept answers, and the monitor that alarms."""
