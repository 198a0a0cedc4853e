"""Stand-alone counterparts of the Telegram Bot API and the WhatsApp Cloud API, with people who write to them.

One aiohttp server speaks both networks and a control API (`/sim/…`), so that tests, the demo and the benchmarks run
against real sockets without the internet. Nothing here imports the product, and the product imports nothing of this.
"""
