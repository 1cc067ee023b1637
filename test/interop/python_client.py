"""An MCP client written by hand on Python's standard library, with a client certificate, in both eras.

    python3 python_client.py URL IDENTITY legacy|modern

IDENTITY is a directory with key.pem, cert.pem and ca.pem. Calls `echo`, which is permitted, and
`delete_everything`, which is not, and prints what came of it as one JSON object.
"""
import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
TEXT = "naïve → ✓"


class Connection:
    """One keep-alive connection over mutual TLS."""

    def __init__(self, url, identity):
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=f"{identity}/ca.pem")
        context.load_cert_chain(f"{identity}/cert.pem", f"{identity}/key.pem")
        self.path = parts.path
        self.connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=15)
        self.next_id = 0

    def send(self, method, headers, message=None):
        body = None if message is None else json.dumps(message).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        self.connection.request(method, self.path, body, {"Accept": "application/json, text/event-stream", **kind, **headers})
        response = self.connection.getresponse()
        return response, response.read().decode()

    def ask(self, headers, method, params):
        """Status, headers, and the messages of the answer: notifications first, the response last."""
        self.next_id += 1
        response, text = self.send("POST", headers, {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params})
        if response.headers.get_content_type() == "text/event-stream":
            return response, [json.loads(data) for data in events(text)]
        return response, [json.loads(text)]


def events(text):
    """The data of each server-sent event that has any."""
    for event in text.replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:"))
        if data:
            yield data


def outcome(answer):
    """The text of a result, or the code of an error."""
    response, messages = answer
    last = messages[-1]
    if "error" in last:
        return {"status": response.status, "error": last["error"]["code"], "said": last["error"]["message"]}
    result = last["result"]
    return {"status": response.status, "text": "".join(part.get("text", "") for part in result.get("content", []))}


def legacy(connection):
    opening = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "python", "version": "1"}}
    response, messages = connection.ask({}, "initialize", opening)
    own = {"MCP-Protocol-Version": messages[-1]["result"]["protocolVersion"]}
    if "mcp-session-id" in response.headers:
        own["Mcp-Session-Id"] = response.headers["mcp-session-id"]
    noted, _ = connection.send("POST", own, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    _, listed = connection.ask(own, "tools/list", {})
    told = {
        "server": messages[-1]["result"]["serverInfo"]["name"],
        "noted": noted.status,
        "tools": sorted(tool["name"] for tool in listed[-1]["result"]["tools"]),
        "permitted": outcome(connection.ask(own, "tools/call", {"name": "echo", "arguments": {"text": TEXT}})),
        "denied": outcome(connection.ask(own, "tools/call", {"name": "delete_everything", "arguments": {}})),
    }
    if "Mcp-Session-Id" in own:
        told["ended"] = connection.send("DELETE", own)[0].status
        told["afterwards"] = outcome(connection.ask(own, "tools/list", {}))["status"]
    return told


def modern(connection):
    def ask(method, params, name=None, **other):
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "python", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method, **({} if name is None else {"Mcp-Name": name}), **other}
        return connection.ask(headers, method, {**params, "_meta": meta})

    _, discovered = ask("server/discover", {})
    _, listed = ask("tools/list", {})
    echo = {"name": "echo", "arguments": {"text": TEXT}}
    return {
        "server": discovered[-1]["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "offers": MODERN in discovered[-1]["result"]["supportedVersions"],
        "tools": sorted(tool["name"] for tool in listed[-1]["result"]["tools"]),
        "cacheScope": listed[-1]["result"]["cacheScope"],
        "permitted": outcome(ask("tools/call", echo, "echo")),
        "denied": outcome(ask("tools/call", {"name": "delete_everything", "arguments": {}}, "delete_everything")),
        "untrue": outcome(ask("tools/call", {"name": "delete_everything", "arguments": {}}, "echo")),
        "unknown": outcome(ask("no/such", {})),
    }


if __name__ == "__main__":
    _, address, directory, era = sys.argv
    print(json.dumps({"legacy": legacy, "modern": modern}[era](Connection(address, directory))))
