// Keeps conversations in this browser, in IndexedDB. Knows nothing of their content but the id.

const NAME = "conversations";
let opening = null;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("weft", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(NAME, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function act(mode, action) {
  const transaction = (await database()).transaction(NAME, mode);
  const request = action(transaction.objectStore(NAME));
  return await new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** All conversations. Rejects, as the others do, where the browser keeps nothing. */
export const all = () => act("readonly", (store) => store.getAll());

/** Keep `conversation`, in the place of the one with its id. */
export const put = (conversation) => act("readwrite", (store) => store.put(conversation));

/** Forget the conversation `id`. */
export const forget = (id) => act("readwrite", (store) => store.delete(id));
