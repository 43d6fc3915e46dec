"""Facts about connections as they happen, one JSON object each, for whoever watches: files, syslog, webhooks."""
