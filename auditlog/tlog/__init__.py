"""The log as C2SP tlog-tiles serves it, for tools nobody here wrote: https://c2sp.org/tlog-tiles"""
