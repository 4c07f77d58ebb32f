"""The few Protocols through which the outside is seen. Adapters implement them; fakes do in tests.

All calls are coroutines with a deadline of their own, and raise only the errors of
`ports.errors`. A call whose deadline passed is not a call undone: read before repeating.
"""
