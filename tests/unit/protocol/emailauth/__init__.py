"""Tests of SPF, DKIM, DMARC and Authentication-Results."""
