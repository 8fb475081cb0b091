// Looks again while an order waits for the consumer, and shows the list of orders as it is then. The rest of the page
// stays: somebody may be about to fill in the form.
const seconds = 2;

async function look() {
  const list = document.getElementById("orders");
  try {
    const answer = await fetch(list.dataset.page);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.ok && !list.contains(document.activeElement)) list.replaceWith(page.getElementById("orders"));
  } catch {
    // The application is not there just now.
  }
  lookAgain();
}

function lookAgain() {
  if (document.querySelector("#orders [data-waits]")) setTimeout(look, seconds * 1000);
}

lookAgain();
