// Without this file the page works as well; the time left then stands still.
"use strict";

const countdown = document.getElementById("countdown");
if (countdown) {
  // The server's clock counts: the browser's may be wrong.
  const offset = Number(countdown.dataset.now) - Date.now();
  const end = Number(countdown.dataset.end);
  const two = (number) => String(number).padStart(2, "0");
  const tick = () => {
    const seconds = Math.floor((end - Date.now() - offset) / 1000);
    if (seconds <= 0) {
      countdown.textContent = "over: the ticket opens nothing any more";
      countdown.classList.add("over");
      clearInterval(timer);
      return;
    }
    const days = Math.floor(seconds / 86400);
    const clock = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60].map(two).join(":");
    countdown.textContent = "in " + (days ? days + (days === 1 ? " day " : " days ") : "") + clock;
  };
  const timer = setInterval(tick, 1000);
  tick();
}

// The message about an action is for this view of the page only, not for a reload.
if (location.search) {
  history.replaceState(null, "", "/" + location.hash);
}

// Picking a date also selects the choice beside it.
const date = document.getElementById("date");
if (date) {
  date.addEventListener("input", () => {
    document.querySelector('input[name="expiry"][value="date"]').checked = true;
  });
}
