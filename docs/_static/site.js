// A button on each block of code that copies it: of a console only the commands, of a Python session only the statements.
"use strict";

function codeToCopy(text, language) {
  const lines = text.replace(/\n$/, "").split("\n");
  if (language === "console") {
    const copied = [];
    let continues = false;
    for (const line of lines) {
      if (line.startsWith("$ ") || continues) {
        copied.push(line.replace(/^[$>] /, ""));
        continues = line.endsWith("\\");
      }
    }
    return copied.join("\n");
  }
  if (language === "pycon") {
    return lines.filter((line) => /^(>>>|\.\.\.)( |$)/.test(line)).map((line) => line.slice(4)).join("\n");
  }
  return lines.join("\n");
}

function addCopyButtons() {
  for (const block of document.querySelectorAll("div[class*='highlight-'] > .highlight")) {
    const language = /highlight-(\w+)/.exec(block.parentElement.className)[1];
    const code = codeToCopy(block.querySelector("pre").textContent, language);
    if (!code) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code);
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = "Not allowed";
        console.warn("The browser did not allow copying:", error);
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }
}

// Browsers have a clipboard for pages that came by HTTPS, from this machine, or from a file.
if (navigator.clipboard) document.addEventListener("DOMContentLoaded", addCopyButtons);
