// The form below a conversation: sends a message, or stops the answer while there is one.
export function Composer({ busy, onSend, onStop }) {
  const submit = (event) => {
    event.preventDefault();
    if (busy) return;
    onSend(new FormData(event.currentTarget).get("text"));
    event.currentTarget.reset();
  };
  return (
    <form onSubmit={submit}>
      <input name="text" placeholder="Message" autoComplete="off" required autoFocus />
      {busy ? <button type="button" id="stop" onClick={onStop}>Stop</button> : <button>Send</button>}
    </form>
  );
}
