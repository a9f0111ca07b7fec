"""The JavaScript client as data of the gateway, whose page imports it. Not part of the npm package."""
