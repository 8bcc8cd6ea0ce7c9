-- Asks the gate about a request; for haproxy.cfg, which acts by the answer. Sets the variable txn.gate to the
-- answer's status; without one, the request is refused there.

-- Change: the gate. A number, as HAProxy resolves no names here.
local gate = "http://127.0.0.1:9180/auth/haproxy"

-- Milliseconds: a little more than the gate's own time limit.
local patience = 3000

local identity = { "id", "name", "email", "groups", "staff", "superuser", "assertion" }

-- HAProxy counts the values of a header from 0.
local function values(headers, name)
    local list, found = {}, headers[name] or {}
    local index = 0
    while found[index] do
        table.insert(list, found[index])
        index = index + 1
    end
    return list
end

core.register_action("gate", { "http-req" }, function(txn)
    local headers = txn.http:req_get_headers()
    local answer = core.httpclient():get({
        url = gate,
        timeout = patience,
        -- Only what the gate reads, and none of it in the client's words but cookies and what a page is.
        headers = {
            ["x-original-method"] = { txn.f:method() },
            ["x-original-host"] = values(headers, "host"),
            ["x-original-uri"] = { txn.f:pathq() },
            ["cookie"] = values(headers, "cookie"),
            ["accept"] = values(headers, "accept"),
        },
    })
    if not answer or not answer.headers then
        return
    end
    local function first(name)
        return (answer.headers[name] or {})[0]
    end
    for _, part in ipairs(identity) do
        txn:set_var("txn.gate_user_" .. part, first("x-user-" .. part) or "")
    end
    local login = first("x-login-location")
    if login and login ~= "" then
        txn:set_var("txn.gate_login", login)
    end
    txn:set_var("txn.gate", answer.status)
end, 0)
