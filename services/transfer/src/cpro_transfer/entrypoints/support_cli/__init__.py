"""`cpro-support`: what support and operations do, over the HTTP API. One module a noun; `app` puts them together."""
