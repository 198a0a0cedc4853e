"""REST interface under `/api/v1` with its OpenAPI description."""
