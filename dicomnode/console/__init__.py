"""Health, metrics, the REST API and the first page over HTTP.  Reads; changes nothing."""
