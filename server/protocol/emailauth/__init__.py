"""SPF, DKIM, DMARC and Authentication-Results."""
