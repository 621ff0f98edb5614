"""What every request passes before its route: request id and access line, who calls, CORS."""
