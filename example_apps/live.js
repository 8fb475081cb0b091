// Refreshes the list of orders while an order waits for the consumer. The rest of the page stays, because the user may
// be filling in the form.
const seconds = 2;

async function look() {
  const list = document.getElementById("orders");
  try {
    const answer = await fetch(list.dataset.page);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.ok && !list.contains(document.activeElement)) list.replaceWith(page.getElementById("orders"));
  } catch {
    // The application cannot be reached now.
  }
  lookAgain();
}

function lookAgain() {
  if (document.querySelector("#orders [data-waits]")) setTimeout(look, seconds * 1000);
}

lookAgain();
