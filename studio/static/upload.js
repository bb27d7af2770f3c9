/* Uploads can be cancelled. Gradio's box shows how far an upload is but has no way to stop it; this adds a strip with a
   button for each upload under way. Loaded before Gradio, whose client looks `fetch` up for every request. */
(() => {
  const UPLOAD = /\/gradio_api\/upload(\?|$)/;
  /* Short uploads are over before anybody could read the strip; what became of a cancelled one stays a while. */
  const SHOW_AFTER = 400, TOLD_FOR = 4000;
  const plain = window.fetch.bind(window);

  const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });

  const place = () => {
    let strip = document.getElementById("ps-uploads");
    if (!strip) {
      strip = Object.assign(make("div", "ps-uploads"), { id: "ps-uploads" });
      strip.setAttribute("role", "status");
      /* The stylesheet's rules are those inside Gradio's container. */
      (document.querySelector(".gradio-container") ?? document.body).append(strip);
    }
    return strip;
  };

  const names = (body) => {
    const files = body instanceof FormData ? body.getAll("files") : [];
    const first = files[0]?.name ?? "file";
    return files.length > 1 ? `${first} and ${files.length - 1} more` : first;
  };

  const offer = (what, cancel) => {
    const row = make("div", "ps-upload"), button = make("button", "ps-button", "Cancel upload");
    button.type = "button";
    button.setAttribute("aria-label", `Cancel the upload of ${what}`);
    button.addEventListener("click", cancel);
    row.append(make("span", "", `Uploading ${what}`), button);
    const timer = setTimeout(() => place().append(row), SHOW_AFTER);
    return (told = "") => {
      clearTimeout(timer);
      if (!told) return row.remove();
      row.replaceChildren(make("span", "", told));
      place().append(row);
      setTimeout(() => row.remove(), TOLD_FOR);
    };
  };

  window.fetch = async (input, init = {}) => {
    if (init.method !== "POST" || !UPLOAD.test(String(input?.url ?? input))) return plain(input, init);
    const control = new AbortController(), what = names(init.body);
    const done = offer(what, () => control.abort());
    try {
      const answer = await plain(input, { ...init, signal: control.signal });
      done();
      return answer;
    } catch (problem) {
      done(control.signal.aborted ? `The upload of ${what} was cancelled. Nothing of it was kept.` : "");
      if (!control.signal.aborted) throw problem;
      /* No files and no error: the box is empty again. */
      return new Response("[]", { headers: { "Content-Type": "application/json" } });
    }
  };
})();
