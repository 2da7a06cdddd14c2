"""The asyncio-native Python SDK for Refold."""
