"use strict";

const ways = ["merge", "last-write-wins"];
// Each tab keeps the requests it has sent in its own entry, so that two tabs do not overwrite each other.
const tab = Math.random().toString(36).slice(2, 8);
const entry = (way, tab) => "race " + way + " " + tab;
const result = document.getElementById("result");
const buttons = [document.getElementById("send"), document.getElementById("clear")];
let number = 0;

const ask = async (path, method) => {
  const response = await fetch("/race/" + path, { method });
  if (!response.ok) throw new Error(path + " answered " + response.status);
  return response;
};
const sent = (way) => Object.keys(localStorage).filter((key) => key.startsWith(entry(way, "")))
  .reduce((sum, key) => sum + Number(localStorage.getItem(key)), 0);

const show = async () => {
  for (const way of ways) {
    const row = document.querySelector(`[data-way="${way}"]`);
    const all = sent(way);
    const { keys, counter } = await (await ask(way, "GET")).json();
    const lost = all - keys;
    row.querySelector(".sent").textContent = all;
    row.querySelector(".keys").textContent = keys;
    row.querySelector(".counted").textContent = counter;
    row.querySelector(".lost").textContent = lost;
    row.classList.toggle("loses", lost > 0);
  }
};

const send = async (requests) => {
  for (const way of ways) {
    await ask(way + "/start", "POST");
    const names = Array.from({ length: requests }, () => tab + "-" + ++number);
    const answers = await Promise.allSettled(names.map((name) => ask(way + "/add/" + name, "POST")));
    const arrived = answers.filter((answer) => answer.status === "fulfilled").length;
    const before = Number(localStorage.getItem(entry(way, tab)) || 0);
    localStorage.setItem(entry(way, tab), before + arrived);
    if (arrived < requests) throw new Error((requests - arrived) + " requests of " + way + " failed");
  }
};

const clear = async () => {
  Object.keys(localStorage).filter((key) => key.startsWith("race ")).forEach((key) => localStorage.removeItem(key));
  for (const way of ways) await ask(way + "/clear", "POST");
  for (const way of ways) await ask(way + "/start", "POST");
};

// One thing at a time in this tab; others may do theirs.
const busy = async (doing, done, work) => {
  buttons.forEach((button) => { button.disabled = true; });
  result.classList.remove("problem");
  result.textContent = doing;
  try {
    await work().finally(show);
    result.textContent = done;
  } catch (error) {
    result.classList.add("problem");
    result.textContent = error.message;
  }
  buttons.forEach((button) => { button.disabled = false; });
};

document.getElementById("race").addEventListener("submit", (event) => {
  event.preventDefault();
  const requests = document.getElementById("requests").valueAsNumber;
  busy("Sending…", "Sent " + requests + " requests each way.", () => send(requests));
});
document.getElementById("clear").addEventListener("click", () => busy("…", "Started anew.", clear));
// Another tab has sent something.
addEventListener("storage", () => { show().catch(() => {}); });
busy("", "", async () => {
  for (const way of ways) await ask(way + "/start", "POST");
});
