"""Server-rendered web console: pages that work by links and forms."""
