"""One file for each page; `console.routing.pages` scans this folder."""
